-- Whether anything waits of aggregates.
--
-- ARGV: time; then for each bucket the number of elements.
-- KEYS: of each element w.
-- Returns how many wait for each element.
local out = {}
for key = 1, #KEYS do
  out[key] = redis.call('ZCARD', KEYS[key])
end
return out
