-- Each database notes the step that it is at.
ALTER TABLE memory.schema_versions ADD COLUMN IF NOT EXISTS step int CHECK (step > 0);
