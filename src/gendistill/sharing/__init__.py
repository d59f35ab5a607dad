"""Large results under DVC: put there by `share`, fetched from there by `restore`; and what no experiment names any more."""
