{{ config(materialized='view') }}

select
    event_date,
    event_time,
    arrived_at,
    {{ adapter.quote('customerID') }} as customer_id,
    lower(gender) as gender,
    {{ adapter.quote('SeniorCitizen') }} = 1 as senior,
    {{ adapter.quote('Partner') }} = 'Yes' as partner,
    {{ adapter.quote('Dependents') }} = 'Yes' as dependents,
    tenure as tenure_months,
    {{ adapter.quote('PhoneService') }} = 'Yes' as phone_service,
    {{ adapter.quote('MultipleLines') }} = 'Yes' as multiple_lines,
    case {{ adapter.quote('InternetService') }}
        when 'DSL' then 'dsl'
        when 'Fiber optic' then 'fiber_optic'
        when 'No' then 'none'
    end as internet_service,
    {{ adapter.quote('OnlineSecurity') }} = 'Yes' as online_security,
    {{ adapter.quote('OnlineBackup') }} = 'Yes' as online_backup,
    {{ adapter.quote('DeviceProtection') }} = 'Yes' as device_protection,
    {{ adapter.quote('TechSupport') }} = 'Yes' as tech_support,
    {{ adapter.quote('StreamingTV') }} = 'Yes' as streaming_tv,
    {{ adapter.quote('StreamingMovies') }} = 'Yes' as streaming_movies,
    case {{ adapter.quote('Contract') }}
        when 'Month-to-month' then 'month_to_month'
        when 'One year' then 'one_year'
        when 'Two year' then 'two_year'
    end as contract,
    {{ adapter.quote('PaperlessBilling') }} = 'Yes' as paperless_billing,
    case {{ adapter.quote('PaymentMethod') }}
        when 'Electronic check' then 'electronic_check'
        when 'Mailed check' then 'mailed_check'
        when 'Bank transfer (automatic)' then 'bank_transfer'
        when 'Credit card (automatic)' then 'credit_card'
    end as payment_method,
    {{ adapter.quote('MonthlyCharges') }} as monthly_charges,
    -- blank for customers who have not had a bill yet
    cast(nullif(trim({{ adapter.quote('TotalCharges') }}), '') as double precision) as total_charges
from {{ source('lake_churn', 'customers') }}
