-- delay_hold
-- Leases that end later, or at once.
--
-- ARGV: time, token, lease in milliseconds, names. Returns 1 for each that was the token's.
local token, lease, out = ARGV[2], tonumber(ARGV[3]), {}
for arg = 4, #ARGV do
  local name = ARGV[arg]
  local held = is_of(token, name)
  if held then
    call('ZADD', turns, number(now + lease), name)
    if lease == 0 then call('HDEL', tokens, name) end
  end
  out[#out + 1] = held and 1 or 0
end
return out
