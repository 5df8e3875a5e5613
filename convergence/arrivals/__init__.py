"""How events come in: a source of messages, a lander that takes each exactly once, and a replay of history."""
