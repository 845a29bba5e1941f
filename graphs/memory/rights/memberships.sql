-- name: memberships
SELECT organisation_id, name, role, accepted_at FROM memory.memberships(%(user_id)s)

-- name: accept
SELECT memory.accept_membership(%(organisation_id)s, %(user_id)s) AS done

-- name: leave
SELECT memory.leave_organisation(%(organisation_id)s, %(user_id)s) AS done
