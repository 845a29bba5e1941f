"""Search: by vector, by filter and hybrid; ranking, embeddings, and the indexes behind them."""
