{#- a test of two models: whose check it is -#}
{{ config(meta={'dagster': {'ref': {'name': 'mart_accounts'}}}) }}

select staged.customer_id, staged.event_date
from {{ ref('stg_customers') }} as staged
left join {{ ref('mart_accounts') }} as account
    on account.customer_id = staged.customer_id and account.event_date = staged.event_date
where account.customer_id is null
