-- What operators see of buckets.
--
-- ARGV: time; then a 0 for each bucket. KEYS: for each bucket s m r g h.
-- Returns for each bucket: rooms, bytes, messages, age of the oldest gap or '', sessions, halted, waiting.
local SHOWN = 1000
local out = {}
for key = 0, #KEYS - 5, 5 do
  local sums = call('HMGET', KEYS[key + 2], 'b', 'c')
  local gap = call('ZRANGE', KEYS[key + 4], 0, 0, 'WITHSCORES')
  local age = gap[2] and math.max(now - tonumber(gap[2]), 0) or ''
  out[#out + 1] = {
    call('ZCARD', KEYS[key + 3]), sums[1] or '0', sums[2] or '0', age,
    call('ZCOUNT', KEYS[key + 1], '(' .. string.format('%.0f', now), '+inf'),
    call('ZRANGE', KEYS[key + 5], 0, SHOWN - 1), call('ZRANGE', KEYS[key + 3], 0, SHOWN - 1),
  }
end
return out
