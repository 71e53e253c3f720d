-- What waits of an aggregate: an index by sequence (kw) and the frames (kp), each behind its digest of
-- 16 bytes.

-- The frames from a sequence on without a gap, at most `limit` of the `count` that wait.
local function take(kp, sequence, limit, count)
  if count < limit then limit = count end
  if limit < 1 then return {} end
  local wanted = { sequence }
  for i = 2, limit do
    sequence = after(sequence)
    wanted[i] = sequence
  end
  local found = call('HMGET', kp, unpack(wanted))
  for i = 1, limit do
    if not found[i] then
      found[i] = nil
      for j = i + 1, limit do found[j] = nil end
      break
    end
  end
  return found
end

-- Remove all below a sequence. Returns how many they were, and their bytes.
local function purge(kw, kp, below)
  local count, bytes = 0, 0
  repeat
    local old = call('ZRANGEBYLEX', kw, '-', '(' .. below, 'LIMIT', 0, 256)
    for i = 1, #old do
      bytes = bytes + call('HSTRLEN', kp, old[i]) - 16
    end
    if #old > 0 then
      call('HDEL', kp, unpack(old))
      call('ZREM', kw, unpack(old))
    end
    count = count + #old
  until #old < 256
  return count, bytes
end

-- Remove one. Returns how many it was, and its bytes.
local function remove(kw, kp, sequence)
  local length = call('HSTRLEN', kp, sequence)
  if length == 0 then return 0, 0 end
  call('HDEL', kp, sequence)
  call('ZREM', kw, sequence)
  return 1, length - 16
end

-- Subtract from the bucket's sums. Not by a minus sign: it would make -0 of 0, which is no integer to Redis.
local function forget(km, count, bytes)
  if count > 0 then
    call('HINCRBY', km, 'c', 0 - count)
    call('HINCRBY', km, 'b', 0 - bytes)
  end
end
