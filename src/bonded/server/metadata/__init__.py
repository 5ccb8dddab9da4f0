"""What is known about packages, principals and policies: protocols, and SQL behind them."""
