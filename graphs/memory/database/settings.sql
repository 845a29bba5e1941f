-- name: text_formats
-- The formats of text, whatever settings the database, the role or a pooler has: the driver and our
-- casts read dates and bytes as text here and there. They last as long as the transaction, since
-- behind a pooler the next one may be on another connection.
set_config('datestyle', 'ISO, MDY', true), set_config('intervalstyle', 'postgres', true),
  set_config('timezone', 'UTC', true), set_config('bytea_output', 'hex', true),
  set_config('extra_float_digits', '1', true), set_config('standard_conforming_strings', 'on', true)
