-- When somebody should look at an aggregate, by what waits now and for whom.

-- Set it. `count` messages wait, `x` is next or nothing, `gap` is since when it is missing or nothing.
-- Returns since when there is a gap now, or ''.
local function reschedule(kw, kr, kg, name, x, owner, halted, gap, count, sweep)
  local head = count > 0 and call('ZRANGE', kw, 0, 0)[1]
  if x and head and head > x then
    if not gap or gap == '' then
      gap = string.format('%.0f', now)
      call('ZADD', kg, gap, name)
    end
  else
    if gap and gap ~= '' then call('ZREM', kg, name) end
    gap = ''
  end
  if count == 0 or halted then
    call('ZREM', kr, name)
  elseif gap == '' and (not owner or owner == '') then
    call('ZADD', kr, now, name)
  else
    call('ZADD', kr, now + sweep, name)
  end
  return gap
end

-- Let an aggregate be forgotten if it is idle, or not. `ends` is when it would be forgotten so far.
local function expire(ka, ttl, ends, idle)
  if ttl > 0 and idle then
    call('HSET', ka, 'z', now + ttl)
    call('PEXPIRE', ka, ttl)
  elseif ends and ends ~= '' then
    call('HSET', ka, 'z', '')
    call('PERSIST', ka)
  end
end
