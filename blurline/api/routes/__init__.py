"""The routes: what is asked, by whom, and how it is answered; the work is done behind them."""
