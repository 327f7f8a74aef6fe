import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// The maps of one interface's program; `bpf/maps.h` says what each is for.
struct ProgramMaps: ~Copyable {
  static let names = ["tables"] + RuleCounters.names + ElementCounters.names + ["interface_counters", "sockets", "devices", "path"]

  var tables: Tables
  var ruleCounters: RuleCounters
  var elementCounters: ElementCounters
  let interfaceCounters: BPFMap
  let sockets: BPFMap
  /// Not pinned: what is in it goes with the daemon.
  let receivers: BPFMap
  let devices: BPFMap
  let path: BPFMap

  /// Those of a loaded object.
  ///
  /// - Parameter hasPinned: Some of them were there before.
  init(of object: ProgramObject, hasPinned: Bool = false) throws(ProgramError) {
    let tables = try Tables(try object.map("tables"))
    let ruleCounters = try RuleCounters(
      counted: try object.map("rule_counters"), carried: try object.map("carried_counters"))
    let elementCounters = try ElementCounters(
      counted: try object.map("element_counters"), carried: try object.map("carried_elements"), isFresh: !hasPinned)
    let interfaceCounters = try object.map("interface_counters")
    let sockets = try object.map("sockets")
    let receivers = try object.map("receivers")
    let devices = try object.map("devices")
    let path = try object.map("path")
    self.tables = tables
    self.ruleCounters = ruleCounters
    self.elementCounters = elementCounters
    self.interfaceCounters = interfaceCounters
    self.sockets = sockets
    self.receivers = receivers
    self.devices = devices
    self.path = path
  }

  /// Pins all of them; unpins what it pinned if one fails.
  func pin(in directory: PinDirectory) throws(ProgramError) {
    try directory.make()
    do throws(ProgramError) {
      try tables.map.pin(at: directory.path(of: tables.map.name))
      try ruleCounters.counted.pin(at: directory.path(of: ruleCounters.counted.name))
      try ruleCounters.carried.pin(at: directory.path(of: ruleCounters.carried.name))
      try elementCounters.counted.pin(at: directory.path(of: elementCounters.counted.name))
      try elementCounters.carried.pin(at: directory.path(of: elementCounters.carried.name))
      try interfaceCounters.pin(at: directory.path(of: interfaceCounters.name))
      try sockets.pin(at: directory.path(of: sockets.name))
      try devices.pin(at: directory.path(of: devices.name))
      try path.pin(at: directory.path(of: path.name))
    } catch {
      directory.remove()
      throw error
    }
  }

  /// Whether an earlier daemon's pins are all there; removes what there is of them if not.
  static func arePinned(in directory: PinDirectory) -> Bool {
    if names.allSatisfy({ access(directory.path(of: $0), F_OK) == 0 }) { return true }
    directory.empty()
    return false
  }

  /// What a program must be loaded for to go on with the pinned tables.
  static func pinnedShape(in directory: PinDirectory) throws(ProgramError) -> ProgramShape {
    let tables = try Tables(try BPFMap.pinned(at: directory.path(of: "tables"), name: "tables"))
    let counters = try BPFMap.pinned(at: directory.path(of: "rule_counters"), name: "rule_counters")
    let elements = try BPFMap.pinned(at: directory.path(of: "element_counters"), name: "element_counters")
    return ProgramShape(
      tablesByteCount: tables.byteCount, features: tables.liveFeatures, slotCount: try counters.sizes().entryCount,
      elementCount: try elements.sizes().entryCount)
  }

  /// Makes `object`, not yet loaded, use the pinned maps.
  static func reusePinned(in directory: PinDirectory, for object: ProgramObject) throws(ProgramError) {
    for name in names {
      let map = try BPFMap.pinned(at: directory.path(of: name), name: name)
      try object.reuse(map)
    }
  }

  /// Makes `object`, not yet loaded, use these maps, but for the tables, and for counters of fewer slots or elements than it
  /// needs.
  func share(with object: ProgramObject, _ shape: ProgramShape) throws(ProgramError) {
    if shape.elementCount <= elementCounters.elementCount {
      try object.reuse(elementCounters.counted)
      try object.reuse(elementCounters.carried)
    }
    if shape.slotCount <= ruleCounters.slotCount {
      try object.reuse(ruleCounters.counted)
      try object.reuse(ruleCounters.carried)
    }
    try object.reuse(interfaceCounters)
    try object.reuse(sockets)
    try object.reuse(receivers)
    try object.reuse(devices)
    try object.reuse(path)
  }

  /// Takes other tables, which a program reads already, and pins them in the place of the old ones.
  ///
  /// - Returns: Why they aren't pinned.
  mutating func replaceTables(by new: consuming Tables, in directory: PinDirectory?) -> ProgramError? {
    let failure = ProgramMaps.failure { () throws(ProgramError) in
      if let directory { try ProgramMaps.replacePin(by: new.map, in: directory) }
    }
    tables = new
    return failure
  }

  /// Takes other rule counters, which a program adds to already, with what the old ones have counted, and pins them in their
  /// place. No program adds to those any more.
  ///
  /// - Returns: Why some counts are lost, or the counters aren't pinned.
  mutating func replaceRuleCounters(
    by new: consuming RuleCounters, with reader: borrowing CounterReader, in directory: PinDirectory?
  ) -> ProgramError? {
    let failure = ProgramMaps.failure { () throws(ProgramError) in
      try new.carry(from: ruleCounters, with: reader)
      try ProgramMaps.replacePins(by: new.counted, new.carried, in: directory)
    }
    ruleCounters = new
    return failure
  }

  /// The same of the counters of elements. The new ones have their keys.
  mutating func replaceElementCounters(
    by new: consuming ElementCounters, with reader: borrowing CounterReader, in directory: PinDirectory?
  ) -> ProgramError? {
    let failure = ProgramMaps.failure { () throws(ProgramError) in
      try new.carry(from: elementCounters, with: reader)
      try ProgramMaps.replacePins(by: new.counted, new.carried, in: directory)
    }
    elementCounters = new
    return failure
  }

  /// Nil: none.
  private static func failure(of body: () throws(ProgramError) -> Void) -> ProgramError? {
    do throws(ProgramError) {
      try body()
      return nil
    } catch {
      return error
    }
  }

  private static func replacePins(
    by counted: borrowing BPFMap, _ carried: borrowing BPFMap, in directory: PinDirectory?
  ) throws(ProgramError) {
    guard let directory else { return }
    try replacePin(by: counted, in: directory)
    try replacePin(by: carried, in: directory)
  }

  private static func replacePin(by map: borrowing BPFMap, in directory: PinDirectory) throws(ProgramError) {
    let path = directory.path(of: map.name)
    let temporary = "\(path)_next"
    unlink(temporary)
    try map.pin(at: temporary)
    try checkBPF("rename pin", path) { rename(temporary, path) == 0 ? 0 : -errno }
  }
}
