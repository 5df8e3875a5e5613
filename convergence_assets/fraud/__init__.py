"""Card fraud: every transaction scored by the model that could have been known that day.

For: the team that reviews alerts. Data: the Fraud Detection Handbook's simulated transactions (1.47 M rows, 153 days).
Results: point-in-time features, a model per week with its gate, a walk-forward evaluation, scores per day.
"""
