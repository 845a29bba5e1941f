-- Rows that come past the store, over PostgREST or SQL, have no words and no vectors, or those of
-- an older value. They are marked by an empty document, and a job indexes them.
CREATE INDEX IF NOT EXISTS memories_unindexed ON memory.memories (id) WHERE document = '';

CREATE OR REPLACE FUNCTION memory.mark_unindexed() RETURNS trigger
  LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
  IF TG_OP = 'INSERT' OR OLD.value IS DISTINCT FROM NEW.value THEN
    NEW.document := '';
  END IF;
  RETURN NEW;
END $$;

-- Before the queue is there, as after `supabase db push`, the hourly job finds what is marked.
CREATE OR REPLACE FUNCTION memory.queue_indexing() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  IF to_regclass('procrastinate.procrastinate_jobs') IS NOT NULL THEN
    PERFORM procrastinate.procrastinate_defer_jobs_v1(ARRAY[ROW('default', 'index_memories', 0, 'index_memories', NULL,
      '{}', NULL)::procrastinate.procrastinate_job_to_defer_v1]);
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER memories_unindexed BEFORE INSERT OR UPDATE OF value ON memory.memories
  FOR EACH ROW WHEN (coalesce(current_setting('memory.provenance', true), '') = '')
  EXECUTE FUNCTION memory.mark_unindexed();
CREATE OR REPLACE TRIGGER memories_queued AFTER INSERT OR UPDATE OF value ON memory.memories
  FOR EACH STATEMENT WHEN (coalesce(current_setting('memory.provenance', true), '') = '')
  EXECUTE FUNCTION memory.queue_indexing();

REVOKE ALL ON FUNCTION memory.mark_unindexed(), memory.queue_indexing()
  FROM PUBLIC, anon, authenticated, service_role;

-- Of what there is, memories that came past the store, and texts whose words and vectors were made
-- before texts were normalised. A document is no value: neither history nor audit record it.
UPDATE memory.memories SET document = ''
WHERE document IS NULL AND value ? 'type' AND value ? 'content'
  OR getdatabaseencoding() = 'UTF8' AND document IS NOT NULL
    AND value::text IS NOT NFKC NORMALIZED;

DO $$
BEGIN
  IF to_regclass('procrastinate.procrastinate_jobs') IS NOT NULL
    AND EXISTS (SELECT FROM memory.memories WHERE document = '') THEN
    PERFORM procrastinate.procrastinate_defer_jobs_v1(ARRAY[ROW('default', 'index_memories', 0, 'index_memories', NULL,
      '{}', NULL)::procrastinate.procrastinate_job_to_defer_v1]);
  END IF;
END $$;
