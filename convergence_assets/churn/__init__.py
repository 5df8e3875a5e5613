"""Churn: which customers of a telephone company leave within a month, and whom a retention campaign should call.

Data: the Telco customer sample that IBM publishes (7,043 customers, 1,869 left), or a generator where it is not there.
Customers arrive on a replay clock, dbt makes accounts of them, models are fitted weekly and score each day.
"""
