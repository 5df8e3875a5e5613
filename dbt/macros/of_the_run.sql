{% macro of_the_run() -%}
event_date between '{{ var("first_day", "0001-01-01") }}' and '{{ var("last_day", "9999-12-31") }}'
{%- endmacro %}
