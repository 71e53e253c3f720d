-- Messages that are done or given up, and what follows them.
--
-- ARGV: time, session, frames, sweep, time to live; then for each bucket the number of elements and of
-- each: first and last sequence, token, digest, record's time, and flags: 1 to keep the lease, and to skip
-- twice the number of those given up that wait, and 2.
-- KEYS: for each bucket m r g, and of each element a w p.
-- Returns for each element a code, or in its place a list of frames with the code as its first; a code is
-- higher by two where the lease stays.
local FENCED, ALREADY, DONE, HELD = 1, 2, 3, 2

local me, limit, sweep, ttl = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local out, key, arg, args = {}, 0, 6, #ARGV
local km, kr, kg
local count_gone, bytes_gone

local function reply(code, frames)
  if #frames == 0 then return code end
  table.insert(frames, 1, code)
  return frames
end

-- Go on where something waits: what follows, and who should look when.
local function drain(ka, kw, kp, state, last, x, goes_on, keep, is_one)
  local count, bytes = tonumber(state[6]), tonumber(state[10])
  local gone, size
  if is_one then
    gone, size = remove(kw, kp, last)
  else
    gone, size = purge(kw, kp, x)
  end
  count, bytes = count - gone, bytes - size
  count_gone, bytes_gone = count_gone + gone, bytes_gone + size
  local frames = goes_on and take(kp, x, limit, count) or {}
  local owner = goes_on and (keep or #frames > 0) and me or ''
  local name = sub(ka, #km + 2)
  -- The clock of a gap begins anew with each.
  if state[7] and state[7] ~= '' then call('ZREM', kg, name) end
  local gap = reschedule(kw, kr, kg, name, x, owner, state[4], '', count, sweep)
  call('HSET', ka, 'n', count, 'b', bytes, 'o', owner, 'k', #frames > 0 and 1 or 0, 'g', gap)
  return frames, owner, count
end

local function complete(ka, kw, kp, first, last, token, digest, time, flags)
  local state = call('HMGET', ka, 'x', 'o', 'f', 'h', 'c', 'n', 'g', 'e', 'm', 'b', 'z', 's')
  local x, halted = state[1], state[4]
  local ends = state[11]
  if ends and ends ~= '' and tonumber(ends) <= now then
    call('DEL', ka)
    return FENCED
  end
  if not x then return FENCED end
  local current, mine = state[3] == token, state[2] == me
  local count = tonumber(state[6] or 0)
  if last < x then
    if not (current and mine) then return ALREADY end
    if not halted and count > 0 and after(last) == x then
      return reply(ALREADY + HELD, take(kp, x, limit, count))
    end
    return ALREADY + HELD
  end
  flags = tonumber(flags)
  local keep, skip = flags % 2 == 1, flags > 1
  if not current or last == LAST or first > x then return FENCED end
  if skip and call('ZLEXCOUNT', kw, '-', '[' .. last) ~= (flags - 2 - flags % 2) / 2 then return FENCED end
  local next = after(last)
  local goes_on = mine and not halted and not state[5]
  local owner = goes_on and keep and me or ''
  if skip then
    call('HSET', ka, 'x', next, 'k', 0, 'o', owner, 'd', '', 's', skipped(state[12], x, last))
  else
    if state[9] and state[9] > time then time = state[9] end
    call('HSET', ka, 'x', next, 'k', 0, 'o', owner, 'd', digest, 'm', time)
  end
  if state[8] then call('HDEL', ka, 'e') end
  local frames = {}
  if count > 0 then
    frames, owner, count = drain(ka, kw, kp, state, last, next, goes_on, keep, last == x)
  end
  if ttl > 0 or ends then expire(ka, ttl, ends, count == 0 and owner == '' and not halted) end
  return reply(owner ~= '' and DONE + HELD or DONE, frames)
end

local element = 0
while arg <= args do
  local elements = tonumber(ARGV[arg])
  arg = arg + 1
  km, kr, kg = KEYS[key + 1], KEYS[key + 2], KEYS[key + 3]
  key = key + 3
  count_gone, bytes_gone = 0, 0
  for _ = 1, elements do
    element = element + 1
    out[element] = complete(KEYS[key + 1], KEYS[key + 2], KEYS[key + 3],
      ARGV[arg], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3], ARGV[arg + 4], ARGV[arg + 5])
    key, arg = key + 3, arg + 6
  end
  forget(km, count_gone, bytes_gone)
end
return out
