"""Whether the platform keeps its promises: the proof of exactly-once landing, and the upkeep of the lake.

For: whoever has to trust the tables, or to run the platform. Data: the platform's own. Results: chaos_report says how
many messages were lost, doubled or torn in trials with faults; lake_upkeep says what housekeeping did.
"""
