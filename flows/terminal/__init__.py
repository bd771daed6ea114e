"""How runs, nights and tables look in the terminal."""
