"""What is done to a model that is there already: tabs of the Models page, each a widget of its own."""
