-- delay_schedule
-- Messages that are to wait. A name that is there is left as it is.
--
-- ARGV: time; for each: name, delay in milliseconds, frame. Returns for each when it is due.
local out = {}
for arg = 2, #ARGV, 3 do
  local name = ARGV[arg]
  local there = call('HGET', frames, name)
  local due = there and sub(there, 1, (string.find(there, ':', 1, true) or 1) - 1)
  if not due then
    due = number(now + ARGV[arg + 1])
    call('HSET', frames, name, due .. ':' .. ARGV[arg + 2])
    call('ZADD', turns, due, name)
  end
  out[#out + 1] = due
end
return out
