"""Deep clustering that the papers compare with, trained here: IIC, GATCluster, SCAN and SPICE.

[IIC19] is Ji, Henriques & Vedaldi, *Invariant Information Clustering for Unsupervised Image Classification and
Segmentation*, ICCV 2019. [GAT20] is Niu, Zhang, Wang & Liang, *GATCluster: Self-Supervised Gaussian-Attention Network
for Image Clustering*, ECCV 2020. [SCAN20] is Van Gansbeke, Vandenhende, Georgoulis, Proesmans & Van Gool, *SCAN:
Learning to Classify Images without Labels*, ECCV 2020. [SPICE22] is Niu, Shan & Wang, *SPICE: Semantic Pseudo-Labeling
for Image Clustering*, IEEE Transactions on Image Processing 31, 2022.

`losses` and `targets` are functions of tensors, `networks` and `heads` what is trained, `views` how pictures vary,
`sources` what a method is given of the images. `iic`, `gatcluster`, `scan` and `spice` put them together, `building`
makes one by its name, `training` trains all of them in one loop, `settings` has the small sizes and the published ones,
`planning` says what they will take. No label is ever seen here.
"""
