"""Networks on disk: checkpoints, what a backbone's name resolves to, networks converted for OpenVINO. No Prefect."""
