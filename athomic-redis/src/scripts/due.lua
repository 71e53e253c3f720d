-- Aggregates at which somebody should look now.
--
-- ARGV: time, limit; then a 0 for each bucket. KEYS: for each bucket s f m r q g h.
-- Returns a list for each bucket.
local out = {}
for key = 0, #KEYS - 7, 7 do
  out[#out + 1] = call('ZRANGEBYSCORE', KEYS[key + 4], '-inf', now, 'LIMIT', 0, ARGV[2])
end
return out
