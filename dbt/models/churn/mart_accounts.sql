{#- not delete+insert: that deletes the days which have new rows, and a day may have lost its last one -#}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='sync_all_columns',
    pre_hook="{% if is_incremental() %}delete from {{ this }} where {{ of_the_run() }}{% endif %}",
) }}

with customers as (
    select * from {{ ref('stg_customers') }}
    where {{ of_the_run() }}
),

billed as (
    select
        *,
        coalesce(total_charges, 0) as charges_so_far,
        case when tenure_months > 0 then total_charges / tenure_months else monthly_charges end as mean_charges
    from customers
)

select
    event_date,
    event_time,
    arrived_at,
    customer_id,
    gender,
    senior,
    partner,
    dependents,
    tenure_months,
    phone_service,
    multiple_lines,
    internet_service,
    online_security,
    online_backup,
    device_protection,
    tech_support,
    streaming_tv,
    streaming_movies,
    contract,
    paperless_billing,
    payment_method,
    monthly_charges,
    charges_so_far as total_charges,
    mean_charges as mean_monthly_charges,
    monthly_charges - mean_charges as charge_change,
    {% for service in ['phone_service', 'multiple_lines', 'online_security', 'online_backup', 'device_protection',
                       'tech_support', 'streaming_tv', 'streaming_movies'] -%}
    cast({{ service }} as integer) +
    {% endfor -%}
    cast(internet_service <> 'none' as integer) as service_count
from billed
