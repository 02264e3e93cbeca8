"""Who calls, and what they may do: callers and scopes, API keys, tokens, rate limits."""
