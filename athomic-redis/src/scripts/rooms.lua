-- Whether anything waits of aggregates.
--
-- ARGV: time; then for each bucket the number of elements.
-- KEYS: for each bucket s f m r q g h, and of each element a w p.
-- Returns how many wait for each element.
local out, key = {}, 0
for arg = 2, #ARGV do
  key = key + 7
  for _ = 1, tonumber(ARGV[arg]) do
    out[#out + 1] = redis.call('ZCARD', KEYS[key + 2])
    key = key + 3
  end
end
return out
