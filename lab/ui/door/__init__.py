"""Who gets in: the settings of a start, hosts and origins, logins, and how much of anything one caller may have. `lab.ui.serve` opens it."""
