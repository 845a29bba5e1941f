-- A person's erasure takes the threads that are theirs alone, with their runs, and nothing is recorded
-- about them late.

-- The threads whose state is about one person alone, of those that are given and those that their
-- runs made. The server notes in each checkpoint whose run made it. Where no server did, the rows
-- of memory decide: a thread in which others have rows, or organisations, is not one person's.
CREATE OR REPLACE FUNCTION memory.threads_of(subject text, given text[], others text[])
  RETURNS text[]
  LANGUAGE plpgsql STABLE SET search_path = ''
AS $$ BEGIN
  IF to_regclass('langgraph.checkpoints') IS NULL THEN RETURN '{}'; END IF;
  RETURN ARRAY(
    SELECT t.thread_id FROM (
      SELECT c.thread_id, bool_and(c.metadata ->> 'langgraph_auth_user_id' = subject) AS theirs
      FROM langgraph.checkpoints AS c
      WHERE c.thread_id = ANY (given) OR c.metadata ->> 'langgraph_auth_user_id' = subject
      GROUP BY 1) AS t
    WHERE coalesce(t.theirs AND NOT EXISTS (
        SELECT FROM langgraph.checkpoints AS c
        WHERE c.thread_id = t.thread_id AND c.metadata ->> 'langgraph_auth_user_id' <> subject),
      t.theirs IS NULL AND t.thread_id <> ALL (others)));
END $$;

-- Remove all that is kept about a person, in one transaction, and leave a certificate. What was
-- erased elsewhere for them is added to it: {name: number}. Their threads go, and the runs of these
-- threads store nothing more. Of what was recorded only digests stay, which the seals need.
DROP FUNCTION IF EXISTS memory.erase_user(text);
CREATE OR REPLACE FUNCTION memory.erase_user(subject text, elsewhere jsonb DEFAULT '{}')
  RETURNS memory.erasures
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  certificate memory.erasures;
  personal    record;
  condition   text;
  n           bigint;
  threads     text[] := '{}';
  others      text[] := '{}';
  part        text[];
  recorded    text[] := '{}';
  name        text;
BEGIN
  PERFORM memory.check_subject(subject);
  IF jsonb_typeof(elsewhere) <> 'object' OR jsonb_path_exists(elsewhere, '$.* ? (@.type() <> "number" || @ < 0)') THEN
    RAISE invalid_parameter_value USING MESSAGE = 'elsewhere must be an object of numbers';
  END IF;
  certificate.id := gen_random_uuid();
  certificate.subject := sha256(convert_to(subject, 'UTF8'));
  certificate.erased := elsewhere;
  PERFORM set_config('memory.erasing', certificate.id::text, true);

  FOR personal IN SELECT * FROM memory.personal_tables() LOOP
    -- In a business table anybody may have written any thread.
    IF starts_with(personal.name, 'memory.') AND EXISTS (
      SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = personal.name::regclass AND a.attname = 'thread_id') THEN
      SELECT string_agg(format('t.%I = $1', c), ' OR ') INTO condition FROM unnest(personal.columns) AS c;
      EXECUTE format('SELECT array_agg(DISTINCT thread_id) FROM %s AS t WHERE %s', personal.name, condition) INTO part USING subject;
      threads := threads || part;
      recorded := recorded || personal.name;
    END IF;
  END LOOP;
  FOREACH name IN ARRAY recorded LOOP
    EXECUTE format('SELECT array_agg(DISTINCT thread_id) FROM %s AS t WHERE user_id IS DISTINCT FROM $1 AND thread_id = ANY ($2)', name)
      INTO part USING subject, threads;
    others := others || part;
  END LOOP;
  -- Threads go first: their locks wait for what runs are writing, and are waited for by no row's lock.
  certificate.erased := certificate.erased || memory.delete_threads(memory.threads_of(subject, threads, others));

  -- Jobs go next: what one that runs meanwhile would store or report is refused for want of its turns, and of the job.
  PERFORM pg_advisory_xact_lock(hashtextextended('facts:' || subject, 0));
  DELETE FROM procrastinate.procrastinate_jobs AS j WHERE j.args ->> 'user_id' = subject;
  GET DIAGNOSTICS n = ROW_COUNT;
  certificate.erased := certificate.erased || CASE WHEN n > 0 THEN jsonb_build_object('jobs', n) ELSE '{}' END;

  FOR personal IN SELECT * FROM memory.personal_tables() LOOP
    SELECT string_agg(format('t.%I = $1', c), ' OR ') INTO condition FROM unnest(personal.columns) AS c;
    EXECUTE format('SELECT count(*) FROM %s AS t WHERE %s', personal.name, condition) INTO n USING subject;
    certificate.erased := certificate.erased || CASE WHEN n > 0 THEN jsonb_build_object(personal.name, n) ELSE '{}' END;
  END LOOP;

  -- What left under a pseudonym is to be removed where it went, once what is on its way has arrived.
  n := 0;
  FOR personal IN
    WITH gone AS (DELETE FROM memory.deliveries AS d WHERE d.user_id = subject RETURNING d.adapter, d.mode, d.pseudonym)
    SELECT g.adapter, g.pseudonym, min(g.mode) AS mode, gen_random_uuid() AS id FROM gone AS g
    WHERE g.pseudonym IS NOT NULL GROUP BY 1, 2
  LOOP
    INSERT INTO memory.deliveries (id, adapter, mode, pseudonym, intent) VALUES (personal.id, personal.adapter,
      personal.mode, personal.pseudonym, jsonb_build_object('kind', 'user_erased', 'pseudonym', personal.pseudonym));
    PERFORM memory.queue_delivery(personal.id, personal.adapter, subject);
    n := n + 1;
  END LOOP;
  certificate.erased := certificate.erased || CASE WHEN n > 0 THEN jsonb_build_object('erasures queued outside', n) ELSE '{}' END;

  -- Deleting memories makes records; these go last.
  FOR personal IN
    SELECT t.name, t.columns FROM memory.personal_tables() AS t WHERE t.name NOT IN ('memory.audit_logs', 'memory.memory_history')
    ORDER BY t.name = 'memory.memories' DESC
  LOOP
    EXECUTE format('DELETE FROM %s AS t WHERE %s', personal.name, (
      SELECT string_agg(format('t.%I = $1', c), ' OR ') FROM unnest(personal.columns) AS c)) USING subject;
  END LOOP;
  -- part: history
  WITH gone AS (
    DELETE FROM memory.memory_history AS h WHERE h.user_id = subject RETURNING h.id, memory.record_digest(h) AS digest
  )
  INSERT INTO memory.erased_records SELECT 'memory_history', g.id, g.digest, certificate.id FROM gone AS g;
  -- end of part
  WITH gone AS (
    DELETE FROM memory.audit_logs AS a WHERE a.user_id = subject OR a.actor = subject OR a.data ->> 'about' = subject
    RETURNING a.id, memory.record_digest(a) AS digest
  )
  INSERT INTO memory.erased_records SELECT 'audit_logs', g.id, g.digest, certificate.id FROM gone AS g;

  -- A load of everybody that stands at this person begins again: it finds what it has done, and tells nobody where it was.
  WITH begun AS (
    UPDATE memory.brain_loads AS l SET cursor = '', done = 0, saved = 0, unchanged = 0, failed = 0
    WHERE l.kind = 'users' AND l.cursor = subject RETURNING l.id
  )
  DELETE FROM memory.brain_load_errors AS e USING begun WHERE e.load_id = begun.id;

  certificate.erased_at := now();
  certificate.digest := memory.erasure_digest(certificate);
  INSERT INTO memory.erasures SELECT certificate.*;
  INSERT INTO memory.audit_logs (actor, action, data, event_id) VALUES (
    CASE WHEN memory.actor() = subject THEN 'the person' ELSE memory.actor() END, 'memory.erased',
    jsonb_build_object('digest', encode(certificate.digest, 'hex'), 'rows', certificate.erased), certificate.id);
  PERFORM set_config('memory.erasing', '', true);
  RETURN certificate;
END $$;

-- Whether a person was erased within the last seconds. What is recorded late about somebody must
-- not appear after their certificate: until the transaction ends, no erasure of them begins.
CREATE OR REPLACE FUNCTION memory.was_erased(person text, seconds float8) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$ BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('facts:' || person, 0));
  RETURN EXISTS (
    SELECT FROM memory.erasures AS e WHERE e.subject = sha256(convert_to(person, 'UTF8'))
      AND e.erased_at >= now() - make_interval(secs => seconds));
END $$;

-- Who read which scope, told by the service behind the reads, since no trigger sees them. A read is
-- told some seconds later.
CREATE OR REPLACE FUNCTION memory.log_reads(reads jsonb) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE gone text[];
BEGIN
  SELECT array_agg(p.person) INTO gone FROM (
    SELECT people.person, max(people.seconds) AS seconds FROM jsonb_to_recordset(reads) AS r (actor text, namespace text, seconds float8)
    CROSS JOIN LATERAL (VALUES (r.actor, r.seconds), (
      CASE WHEN starts_with(r.namespace, 'users.') THEN
        replace(replace(split_part(r.namespace, '.', 2), '%2E', '.'), '%25', '%') END, r.seconds)) AS people (person, seconds)
    WHERE people.person <> '' GROUP BY 1 ORDER BY 1) AS p
  WHERE memory.was_erased(p.person, coalesce(p.seconds, 0));
  INSERT INTO memory.audit_logs
    (actor, action, user_id, org_id, namespace, data, thread_id, run_id, checkpoint_id, task_id)
  SELECT r.actor, 'memory.read', CASE WHEN starts_with(r.namespace, 'users.') THEN o.owner END,
    CASE WHEN starts_with(r.namespace, 'orgs.') THEN o.owner END, r.namespace, r.data, r.thread_id, r.run_id,
    r.checkpoint_id, r.task_id
  FROM jsonb_to_recordset(reads) AS r (actor text, namespace text, data jsonb, thread_id text, run_id text,
    checkpoint_id text, task_id text)
  CROSS JOIN LATERAL (
    SELECT nullif(replace(replace(split_part(r.namespace, '.', 2), '%2E', '.'), '%25', '%'), '') AS owner) AS o
  WHERE (r.actor = ANY (gone)) IS NOT TRUE
    AND (starts_with(r.namespace, 'users.') AND o.owner = ANY (gone)) IS NOT TRUE;
END $$;

REVOKE ALL ON FUNCTION memory.threads_of(text, text[], text[]), memory.erase_user(text, jsonb),
  memory.was_erased(text, float8) FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION memory.erase_user(text, jsonb) TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION memory.was_erased(text, float8) TO service_role;
