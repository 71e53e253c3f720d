-- How often the next message was begun: twice the number of processes that died with it, and one more if it
-- is begun under the present lease.

-- A lease has ended with its process, if one has.
local function bury(k)
  k = tonumber(k or 0)
  return k + k % 2
end

-- A lease begins: the first is taken to be for running the message.
local function begin(k)
  return k == 0 and 1 or k
end

local function deliveries(k)
  return math.floor(tonumber(k or 0) / 2) + 1
end
