"""How the learning rate of every method is chosen: the rule, and the figure of the sweep."""
