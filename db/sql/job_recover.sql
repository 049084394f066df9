-- job_recover: after a lost connection: what this worker's leases hold that it does not know goes back, unstarted.
-- A claim whose answer was lost has made such a lease. known: an array literal.
-- $1 worker bigint
-- $2 known text
SELECT belay.recover($1, $2::bigint[]) AS given_back
