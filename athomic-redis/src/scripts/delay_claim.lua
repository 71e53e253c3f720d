-- delay_claim
-- What is due and nobody else's, the oldest first.
--
-- ARGV: time, token, lease in milliseconds, how many entries, how many bytes.
-- Returns after how many milliseconds there may be more (nothing if nothing waits), how many there are, for how
-- many milliseconds the first was due; then for each name, and when it was due with its frame behind a colon.
local token, lease, bytes = ARGV[2], tonumber(ARGV[3]), 0
local function first()
  local pair = call('ZRANGE', turns, 0, 0, 'WITHSCORES')
  return tonumber(pair[2])
end
local overdue = math.max(0, now - (first() or now))
local out = { '', 0, number(overdue) }
for _, name in ipairs(call('ZRANGEBYSCORE', turns, '-inf', now, 'LIMIT', 0, tonumber(ARGV[4]))) do
  local there = call('HGET', frames, name) or ':'
  local size = #there - (string.find(there, ':', 1, true) or 0)
  if bytes > 0 and bytes + size > tonumber(ARGV[5]) then break end
  bytes = bytes + size
  call('ZADD', turns, number(math.max(now + lease, now + 1)), name)
  call('HSET', tokens, name, token)
  out[#out + 1] = name
  out[#out + 1] = there
end
local after = first()
out[1] = after and number(math.max(0, after - now)) or ''
out[2] = call('ZCARD', turns)
return out
