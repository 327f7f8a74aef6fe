import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// An ELF object of `bpf/`, opened by libbpf and, after ``load()``, in the kernel.
///
/// A class, because libbpf keeps pointers into it. Not for sharing between threads. What should outlive it is taken as
/// descriptors of its own by ``map(_:)`` and ``program(_:)``.
final class ProgramObject {
  let object: OpaquePointer
  private let programName: String
  private var verifierLog: UnsafeMutableBufferPointer<CChar>

  /// Opens the object and sets its constants. Nothing is in the kernel yet.
  init<Constants: BitwiseCopyable>(
    _ bytes: [UInt8], programName: String, constants: Constants
  ) throws(ProgramError) {
    libbpf_set_print(nil)  // errors come back as values; its console output would only duplicate them
    libxdp_set_print(nil)
    let opened = bytes.withUnsafeBytes { bpf_object__open_mem($0.baseAddress, $0.count, nil) }
    guard let opened else { throw .system(systemError("open BPF object", programName, code: errno)) }
    object = opened
    self.programName = programName
    verifierLog = .allocate(capacity: 1 << 20)
    verifierLog.initialize(repeating: 0)
    try setConstants(constants)
    let program = try find(programName)
    bpf_program__set_log_buf(program, verifierLog.baseAddress, verifierLog.count)
  }

  deinit {
    bpf_object__close(object)
    verifierLog.deallocate()
  }

  private func setConstants<Constants: BitwiseCopyable>(_ constants: Constants) throws(ProgramError) {
    var byteCount = 0
    guard let map = bpf_object__find_map_by_name(object, ".rodata.sluice"),
      let memory = bpf_map__initial_value(map, &byteCount), byteCount == MemoryLayout<Constants>.size
    else { throw .malformedObject("\(programName) has no constants of the expected size") }
    // libbpf's own buffer of byteCount bytes, which it hands to the kernel at load.
    UnsafeMutableRawPointer(mutating: memory).storeBytes(of: constants, as: Constants.self)
  }

  private func find(_ program: String) throws(ProgramError) -> OpaquePointer {
    guard let found = bpf_object__find_program_by_name(object, program) else {
      throw .malformedObject("no program \(program)")
    }
    return found
  }

  private func find(map name: String) throws(ProgramError) -> OpaquePointer {
    guard let map = bpf_object__find_map_by_name(object, name) else { throw .malformedObject("no map \(name)") }
    return map
  }

  /// Loads the program able to take multi-buffer packets; refused by kernels before 5.18.
  func setFragsSupport() throws(ProgramError) {
    let program = try find(programName)
    try checkBPF("set flags", programName) {
      bpf_program__set_flags(program, bpf_program__flags(program) | SLUICE_BPF_F_XDP_HAS_FRAGS)
    }
  }

  /// Uses a map that exists instead of making one. Before ``load()``.
  func reuse(_ map: borrowing BPFMap) throws(ProgramError) { try reuse(map.descriptor.rawValue, as: map.name) }

  /// The same by the map's descriptor, which the object duplicates.
  func reuse(_ descriptor: CInt, as name: String) throws(ProgramError) {
    let found = try find(map: name)
    try checkBPF("reuse map", name) { bpf_map__reuse_fd(found, descriptor) }
  }

  /// Before ``load()``.
  func setMaxEntries(_ count: UInt32, of map: String) throws(ProgramError) {
    let found = try find(map: map)
    try checkBPF("size map", map) { bpf_map__set_max_entries(found, count) }
  }

  /// Before ``load()``.
  func setValueByteCount(_ count: Int, of map: String) throws(ProgramError) {
    let found = try find(map: map)
    try checkBPF("size map", map) { bpf_map__set_value_size(found, UInt32(count)) }
  }

  func load() throws(ProgramError) {
    let result = bpf_object__load(object)
    guard result < 0 else { return }
    throw loadFailure(code: -result)
  }

  /// What a failed load came to: the verifier's verdict if it spoke, else the system's.
  func loadFailure(code: CInt) -> ProgramError {
    let log = String(decoding: verifierLog.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard !log.isEmpty, code != EPERM else { return .system(systemError("load", programName, code: code)) }
    let lines = log.split(separator: "\n").filter { !$0.hasPrefix("processed ") && !$0.hasPrefix("--") }
    return .refusedByVerifier(program: programName, summary: String(lines.last ?? ""), log: log)
  }

  /// A descriptor of its own for a loaded map.
  func map(_ name: String) throws(ProgramError) -> BPFMap {
    let found = try find(map: name)
    return BPFMap(owning: try duplicate(bpf_map__fd(found), name), name: name)
  }

  /// A descriptor of its own for the loaded program.
  func program() throws(ProgramError) -> OwnedDescriptor { try program(named: programName) }

  /// The same for another program of the object.
  func program(named name: String) throws(ProgramError) -> OwnedDescriptor {
    try duplicate(bpf_program__fd(try find(name)), name)
  }

  private func duplicate(_ descriptor: CInt, _ name: String) throws(ProgramError) -> OwnedDescriptor {
    let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    guard copy >= 0 else { throw .system(systemError("duplicate descriptor", name, code: errno)) }
    return OwnedDescriptor(owning: copy)
  }
}

/// The name of a loaded program, empty if it has none, is gone, or may not be looked up (CAP_SYS_ADMIN).
func programName(identifier: UInt32) -> String {
  let raw = bpf_prog_get_fd_by_id(identifier)
  guard raw >= 0 else { return "" }
  let descriptor = OwnedDescriptor(owning: raw)
  var number: UInt32 = 0
  var name = [CChar](repeating: 0, count: Int(BPF_OBJ_NAME_LEN))
  guard sluice_program_info(descriptor.rawValue, &number, &name) == 0 else { return "" }
  return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
