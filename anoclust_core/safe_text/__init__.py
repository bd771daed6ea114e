"""Text that may be shown: addresses without passwords, cells that no spreadsheet runs."""
