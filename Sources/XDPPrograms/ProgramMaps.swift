import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// The maps of one interface's program; `bpf/maps.h` says what each is for.
struct ProgramMaps: ~Copyable {
  static let names = ["generations", "rule_counters", "interface_counters", "sockets", "devices", "path"]

  let generations: BPFMap
  let ruleCounters: BPFMap
  let interfaceCounters: BPFMap
  let sockets: BPFMap
  let devices: BPFMap
  let path: BPFMap

  /// Those of a loaded object.
  init(of object: ProgramObject) throws(ProgramError) {
    let generations = try object.map("generations")
    let ruleCounters = try object.map("rule_counters")
    let interfaceCounters = try object.map("interface_counters")
    let sockets = try object.map("sockets")
    let devices = try object.map("devices")
    let path = try object.map("path")
    self.generations = generations
    self.ruleCounters = ruleCounters
    self.interfaceCounters = interfaceCounters
    self.sockets = sockets
    self.devices = devices
    self.path = path
  }

  /// Pins all of them; unpins what it pinned if one fails.
  func pin(in directory: PinDirectory) throws(ProgramError) {
    try directory.make()
    do throws(ProgramError) {
      try generations.pin(at: directory.path(of: generations.name))
      try ruleCounters.pin(at: directory.path(of: ruleCounters.name))
      try interfaceCounters.pin(at: directory.path(of: interfaceCounters.name))
      try sockets.pin(at: directory.path(of: sockets.name))
      try devices.pin(at: directory.path(of: devices.name))
      try path.pin(at: directory.path(of: path.name))
    } catch {
      directory.remove()
      throw error
    }
  }

  /// Makes `object`, not yet loaded, use the pinned maps. False, and no pin left, where they are not all there.
  static func reusePinned(in directory: PinDirectory, for object: ProgramObject) throws(ProgramError) -> Bool {
    guard names.allSatisfy({ access(directory.path(of: $0), F_OK) == 0 }) else {
      directory.remove()
      return false
    }
    for name in names {
      let map = try BPFMap.pinned(at: directory.path(of: name), name: name)
      try object.reuse(map)
    }
    return true
  }

  /// Makes a generation from the bytes of a `struct sluice_generation` and stores it in the slot of the live one.
  ///
  /// Returns after an RCU grace period: no packet is in the previous generation any more.
  func publish(_ generation: UnsafeRawBufferPointer) throws(ProgramError) {
    let map = try makeGeneration(generation)
    try generations.update(UInt32(0), to: map.descriptor.rawValue)
  }
}

/// A map that holds one generation and can't be changed from user space.
private func makeGeneration(_ bytes: UnsafeRawBufferPointer) throws(ProgramError) -> BPFMap {
  precondition(bytes.count == MemoryLayout<sluice_generation>.size, "a generation has the size of its struct")
  let raw = try checkBPF("make map", "generation") {
    bpf_map_create(BPF_MAP_TYPE_ARRAY, "generation", 4, UInt32(bytes.count), 1, nil)
  }
  let map = BPFMap(owning: OwnedDescriptor(owning: raw), name: "generation")
  try map.update(UInt32(0), toBytes: bytes)
  try checkBPF("freeze map", "generation") { bpf_map_freeze(raw) }
  return map
}
