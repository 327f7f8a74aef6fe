import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// A BPF map: a descriptor with typed access. One owner; any thread; calls block for the length of a system call.
public struct BPFMap: ~Copyable, Sendable {
  public let name: String
  let descriptor: OwnedDescriptor

  init(owning descriptor: consuming OwnedDescriptor, name: String) {
    self.descriptor = descriptor
    self.name = name
  }

  /// The map pinned at `path`.
  static func pinned(at path: String, name: String) throws(ProgramError) -> BPFMap {
    BPFMap(owning: OwnedDescriptor(owning: try checkBPF("open pin", path) { bpf_obj_get(path) }), name: name)
  }

  func pin(at path: String) throws(ProgramError) {
    try checkBPF("pin map", path) { bpf_obj_pin(descriptor.rawValue, path) }
  }

  /// Bytes of a value, and how many keys an array has.
  func sizes() throws(ProgramError) -> (valueByteCount: Int, entryCount: UInt32) {
    var (valueByteCount, entryCount) = (UInt32(0), UInt32(0))
    let descriptor = descriptor.rawValue
    try checkBPF("read map info", name) { sluice_map_sizes(descriptor, &valueByteCount, &entryCount) }
    return (Int(valueByteCount), entryCount)
  }

  /// Stores `value`, replacing what is there.
  func update<Key: BitwiseCopyable, Value: BitwiseCopyable>(_ key: Key, to value: Value) throws(ProgramError) {
    let name = name
    try checkBPF("update map", name) {
      withUnsafePointer(to: key) { key in
        withUnsafePointer(to: value) { bpf_map_update_elem(descriptor.rawValue, key, $0, 0) }
      }
    }
  }

  /// `bytes` must be as long as the map's values.
  func update<Key: BitwiseCopyable>(_ key: Key, toBytes bytes: UnsafeRawBufferPointer) throws(ProgramError) {
    let name = name
    try checkBPF("update map", name) {
      withUnsafePointer(to: key) { bpf_map_update_elem(descriptor.rawValue, $0, bytes.baseAddress, 0) }
    }
  }

  /// `bytes` must be as long as the map's values.
  func update<Key: BitwiseCopyable>(_ key: Key, toBytes bytes: [UInt8]) throws(ProgramError) {
    let name = name
    try checkBPF("update map", name) {
      withUnsafePointer(to: key) { key in
        bytes.withUnsafeBytes { bpf_map_update_elem(descriptor.rawValue, key, $0.baseAddress, 0) }
      }
    }
  }

  /// Stores a value of the map's length where there is none. Whether there was none.
  func insert<Key: BitwiseCopyable>(_ key: Key, bytes: UnsafeRawBufferPointer) throws(ProgramError) -> Bool {
    let result = withUnsafePointer(to: key) {
      bpf_map_update_elem(descriptor.rawValue, $0, bytes.baseAddress, UInt64(BPF_NOEXIST))
    }
    guard result == 0 || result == -EEXIST else {
      throw .system(systemError("insert into map", name, code: -result))
    }
    return result == 0
  }

  /// Removes a key; its absence is no error.
  func remove<Key: BitwiseCopyable>(_ key: Key) throws(ProgramError) {
    let result = withUnsafePointer(to: key) { bpf_map_delete_elem(descriptor.rawValue, $0) }
    guard result == 0 || result == -ENOENT else {
      throw .system(systemError("delete from map", name, code: -result))
    }
  }

  /// The value of `key`, which is an index of an array map or must exist.
  func value<Key: BitwiseCopyable, Value: BitwiseCopyable>(
    _ key: Key, as type: Value.Type = Value.self
  ) throws(ProgramError) -> Value {
    let value = UnsafeMutablePointer<Value>.allocate(capacity: 1)
    defer { value.deallocate() }
    let name = name
    try checkBPF("look up map", name) {
      withUnsafePointer(to: key) { bpf_map_lookup_elem(descriptor.rawValue, $0, value) }
    }
    return value.pointee  // BitwiseCopyable, written whole by the kernel
  }

  /// The same; nil: there is no such key.
  func valueIfPresent<Key: BitwiseCopyable, Value: BitwiseCopyable>(
    _ key: Key, as type: Value.Type = Value.self
  ) throws(ProgramError) -> Value? {
    do throws(ProgramError) {
      return try value(key)
    } catch {
      guard case .system(let cause) = error, cause.code == ENOENT else { throw error }
      return nil
    }
  }

  /// The keys of a hash map with 32-bit keys.
  func keys() throws(ProgramError) -> [UInt32] { try keys(from: 0) }

  /// The keys of a hash map, in no order.
  ///
  /// - Parameter any: Any value of their type.
  func keys<Key: BitwiseCopyable>(from any: Key) throws(ProgramError) -> [Key] {
    var keys: [Key] = []
    var next = any
    while true {
      let result =
        if var current = keys.last {
          bpf_map_get_next_key(descriptor.rawValue, &current, &next)
        } else {
          bpf_map_get_next_key(descriptor.rawValue, nil, &next)
        }
      if result == -ENOENT { return keys }
      guard result == 0 else { throw .system(systemError("walk map", name, code: -result)) }
      keys.append(next)
    }
  }
}

/// Reads and clears per-CPU counters: values of `struct sluice_counter`, one per possible CPU.
struct CounterReader: ~Copyable {
  private let values: UnsafeMutableBufferPointer<sluice_counter>
  /// A row of nothing.
  let zeros: UnsafeRawBufferPointer

  /// Allocates one row of values; reuse it for many keys.
  init() throws(ProgramError) {
    let count = try checkBPF("count possible CPUs", "") { libbpf_num_possible_cpus() }
    values = .allocate(capacity: Int(count))
    values.initialize(repeating: sluice_counter())
    let nothing = UnsafeMutableBufferPointer<sluice_counter>.allocate(capacity: Int(count))
    nothing.initialize(repeating: sluice_counter())
    zeros = UnsafeRawBufferPointer(nothing)
  }

  deinit {
    values.deallocate()
    zeros.deallocate()
  }

  /// Packets and bytes of `key`, summed over the CPUs.
  func read(_ map: borrowing BPFMap, _ key: UInt32) throws(ProgramError) -> PacketCount {
    var key = key
    let name = map.name
    try checkBPF("look up map", name) { bpf_map_lookup_elem(map.descriptor.rawValue, &key, values.baseAddress) }
    return sum
  }

  /// The same of a hash map; nil: there is no such key.
  func readIfPresent<Key: BitwiseCopyable>(_ map: borrowing BPFMap, _ key: Key) throws(ProgramError) -> PacketCount? {
    let result = withUnsafePointer(to: key) { bpf_map_lookup_elem(map.descriptor.rawValue, $0, values.baseAddress) }
    if result == -ENOENT { return nil }
    guard result == 0 else { throw .system(systemError("look up map", map.name, code: -result)) }
    return sum
  }

  private var sum: PacketCount {
    values.reduce(into: PacketCount()) { sum, value in
      sum.packets &+= value.packets
      sum.bytes &+= value.bytes
    }
  }

  func clear(_ map: borrowing BPFMap, _ key: UInt32) throws(ProgramError) {
    values.update(repeating: sluice_counter())
    try map.update(key, toBytes: UnsafeRawBufferPointer(values))
  }
}

/// Packets and bytes; bytes are frame lengths without FCS.
public struct PacketCount: Hashable, Sendable {
  public var packets: UInt64 = 0
  public var bytes: UInt64 = 0

  public init(packets: UInt64 = 0, bytes: UInt64 = 0) {
    self.packets = packets
    self.bytes = bytes
  }
}
