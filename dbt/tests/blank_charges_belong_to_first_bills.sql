select customer_id, event_date
from {{ ref('stg_customers') }}
where total_charges is null and tenure_months > 0
