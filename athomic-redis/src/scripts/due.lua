-- Aggregates at which somebody should look now.
--
-- ARGV: time, limit; then a 0 for each bucket. KEYS: for each bucket r.
-- Returns a list for each bucket.
local out = {}
for key = 1, #KEYS do
  out[key] = call('ZRANGEBYSCORE', KEYS[key], '-inf', now, 'LIMIT', 0, ARGV[2])
end
return out
