"""Reading the answer out of what a model wrote, one module for each kind of answer."""
