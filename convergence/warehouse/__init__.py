"""SQL warehouses: what dbt builds in, from tables of the lake, and what is published back into the lake."""
