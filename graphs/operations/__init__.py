"""What an operator does to a deployment: check it, repair it, try it out. `graph-memory` shows what comes of it."""
