-- Changes, one after the other. Some of what has gone is removed first.
--
-- ARGV: time; for each change: key, condition (`*` always, `-` absent, `=` is), expected value,
-- `=` or `-` for a deletion, value, time to live in milliseconds or nothing.
-- Returns for each 1 if it holds now, else 0.
local function remove(key)
  call('HDEL', kv, key)
  call('ZREM', ke, key)
  call('ZREM', ki, key)
end
for _, key in ipairs(call('ZRANGEBYSCORE', ke, '-inf', now, 'LIMIT', 0, 100)) do remove(key) end

local out = {}
for arg = 2, #ARGV, 6 do
  local key, condition, expected = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2]
  local deletes, value, ttl = ARGV[arg + 3] == '-', ARGV[arg + 4], tonumber(ARGV[arg + 5])
  local found = current(key)
  local fits = condition == '*' or (condition == '-' and not found) or (condition == '=' and found == expected)
  local holds = (deletes and not found) or (not deletes and found == value)
  if fits and deletes then
    remove(key)
  elseif fits then
    call('HSET', kv, key, value)
    call('ZADD', ki, 0, key)
    if ttl then call('ZADD', ke, now + ttl, key) else call('ZREM', ke, key) end
  end
  out[#out + 1] = (fits or holds) and 1 or 0
end
return out
