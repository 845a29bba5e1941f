-- No row that a person may write tells whose a thread is, and nothing about a recall is recorded
-- late.

-- Leave out a record about a recall by or for a person who was erased within the last half minute:
-- processes write these after the answer.
CREATE OR REPLACE FUNCTION memory.drop_late_record() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$ BEGIN
  IF memory.was_erased(NEW.user_id, 30) OR memory.was_erased(coalesce(to_jsonb(NEW) ->> 'actor', ''), 30) THEN
    RETURN NULL;
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER receipts_of_the_erased BEFORE INSERT ON memory.recall_receipts
  FOR EACH ROW EXECUTE FUNCTION memory.drop_late_record();
CREATE OR REPLACE TRIGGER comparisons_of_the_erased BEFORE INSERT ON memory.shadow_comparisons
  FOR EACH ROW EXECUTE FUNCTION memory.drop_late_record();
REVOKE ALL ON FUNCTION memory.drop_late_record() FROM PUBLIC, anon, authenticated, service_role;

-- Remove all that is kept about a person, in one transaction, and leave a certificate.
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
  IF jsonb_typeof(elsewhere) <> 'object' OR jsonb_path_exists(elsewhere, '$.* ? (@.type() <> "number" || @ < 0)')
    OR elsewhere - ARRAY['server schedules', 'server threads', 'server assistants'] <> '{}' THEN
    RAISE invalid_parameter_value USING MESSAGE =
      'elsewhere must be an object of numbers of "server schedules", "server threads" and "server assistants"';
  END IF;
  certificate.id := gen_random_uuid();
  certificate.subject := sha256(convert_to(subject, 'UTF8'));
  certificate.erased := elsewhere;
  PERFORM set_config('memory.erasing', certificate.id::text, true);

  FOR personal IN SELECT * FROM memory.personal_tables() LOOP
    -- Everywhere else a person may name any thread in a row of their own.
    IF personal.name IN ('memory.audit_logs', 'memory.memories', 'memory.recall_receipts') THEN
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
