"""Where things are kept and read: images, arrays, weights, files, workers. No Prefect here."""
