"""Why AP is what it is: kinds of errors, what each costs, and the HTML page."""
