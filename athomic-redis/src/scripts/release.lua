-- Leases that are given back. One that is not held under the token is left as it is.
--
-- ARGV: time, session, sweep, time to live; then for each bucket the number of elements and the token of each.
-- KEYS: for each bucket r g, and of each element a w.
-- Returns one for each element.
local me, sweep, ttl = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local out, key, arg, args = {}, 0, 5, #ARGV

while arg <= args do
  local elements = tonumber(ARGV[arg])
  arg = arg + 1
  local kr, kg = KEYS[key + 1], KEYS[key + 2]
  key = key + 2
  for _ = 1, elements do
    local ka, kw = KEYS[key + 1], KEYS[key + 2]
    local state = call('HMGET', ka, 'o', 'f', 'k', 'x', 'h', 'g', 'n', 'z', 'i')
    if state[1] == me and state[2] == ARGV[arg] then
      local count, halted = tonumber(state[7] or 0), state[5]
      local gap, for_the_gap = '', state[9] == state[2]
      if count > 0 then
        local name = sub(ka, #kr + 2)
        -- Who had the lease may have had what is missing: others get the time to find it.
        if state[6] ~= '' and not for_the_gap then
          call('ZREM', kg, name)
          state[6] = ''
        end
        gap = reschedule(kw, kr, kg, name, state[4], '', halted, state[6], count, sweep)
      end
      local k = tonumber(state[3] or 0)
      call('HSET', ka, 'o', '', 'k', k - k % 2, 'g', gap)
      if not for_the_gap then call('HSET', ka, 'l', gap) end
      expire(ka, ttl, state[8], count == 0 and not halted)
    end
    out[#out + 1] = 1
    key, arg = key + 2, arg + 1
  end
end
return out
