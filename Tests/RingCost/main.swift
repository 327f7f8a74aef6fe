// Runs a hot root over rings in ordinary memory: ring-cost drop|reflect ROUNDS. Under callgrind, collecting only inside
// the root (`--toggle-collect`), the difference between two runs divided by their packets is what a packet costs.
// Tests/Checks/ring-cost.sh does that.
import Glibc
import LinuxSystem
import XSK

func fail(_ reason: String) -> Never {
  print("ring-cost: \(reason)")
  exit(1)
}

func run(_ work: String, rounds: Int) throws(SystemError) {
  let geometry = UMEM.Geometry(frameCount: 1024)
  let memory = try UMEM(geometry: geometry, wantsHugePages: false)
  var pool = memory.makePool()
  let options = XDPSocket.Options(fillEntryCount: 512, receiveEntryCount: 512, transmitEntryCount: 512)
  var socket = try XDPSocket(inMemory: memory, pool: &pool, options: options)
  var kernel = socket.kernelSide()
  var meter = TrafficMeter()
  for _ in 0..<rounds {
    let delivered = kernel.deliver(batchLimit, byteCount: 60)
    if delivered != batchLimit { fail("\(delivered) frames in the fill ring") }
    switch work {
    case "drop": processBatchDropping(&socket, &pool, &meter)
    case "reflect": processBatchReflecting(&socket, &pool)
    default: fail("drop or reflect, not \(work)")
    }
    kernel.transmitAll()
  }
  if !socket.frames(pool: pool).areConserved { fail("frames got lost: \(socket.frames(pool: pool))") }
  let packets = work == "drop" ? Int(meter.packets) : kernel.transmittedCount
  if packets != rounds * Int(batchLimit) { fail("\(packets) packets in \(rounds) rounds") }
  print("\(packets) packets")
}

guard CommandLine.argc == 3, let rounds = Int(CommandLine.arguments[2]), rounds > 0 else {
  fail("usage: ring-cost drop|reflect ROUNDS")
}
do throws(SystemError) {
  try run(CommandLine.arguments[1], rounds: rounds)
} catch { fail("\(error)") }
