import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// Opens the embedded program with what the kernel can do.
public enum ProgramLoader {
  /// Whether the kernel knows multi-buffer packets (`xdp.frags`, 5.18). Loads a program of two instructions, once, to find out.
  public static let kernelHasFrags: Bool = canLoad([pass, exit], flags: SLUICE_BPF_F_XDP_HAS_FRAGS)

  /// Whether the verifier lets a program read of its stack what it hasn't written (6.3, with CAP_PERFMON), so that it need
  /// not clear it for each packet. Found out likewise, by r0 = *(u64 *)(r10 - 8).
  static let kernelTakesUnwrittenStack: Bool = canLoad([bpf_insn(0x79, to: 0, from: 10, offset: -8), pass, exit])

  /// Whether a program can hold memory for packets, and so receive them: map values above 4 MiB (6.7). What else that needs,
  /// kernels had before.
  static let kernelHasReceivers: Bool = {
    var options = bpf_map_create_opts()
    options.sz = MemoryLayout<bpf_map_create_opts>.size
    options.map_flags = UInt32(BPF_F_MMAPABLE)
    let map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "sluice_feature", 4, 8 << 20, 1, &options)
    if map < 0 { return false }
    close(map)
    return true
  }()

  private static var pass: bpf_insn { bpf_insn(0xb7, to: 0, 2) }  // r0 = XDP_PASS
  private static var exit: bpf_insn { bpf_insn(0x95) }

  private static func canLoad(_ code: [bpf_insn], flags: UInt32 = 0) -> Bool {
    var options = bpf_prog_load_opts()
    options.sz = MemoryLayout<bpf_prog_load_opts>.size
    options.prog_flags = flags
    let program = bpf_prog_load(BPF_PROG_TYPE_XDP, "sluice_feature", "GPL", code, code.count, &options)
    if program < 0 { return false }
    close(program)
    return true
  }

  /// Not yet loaded.
  static func open(
    _ shape: ProgramShape, recordsDecisions: Bool = false, hasReceivers: Bool = false
  ) throws(ProgramError) -> (ProgramObject, supportsFrags: Bool) {
    let object = try ProgramObject(
      PackageResources.sluice_xdp_bpf_o, programName: "sluice_xdp",
      constants: shape.constants(
        frags: kernelHasFrags, recordsDecisions: recordsDecisions, zeroesStack: !kernelTakesUnwrittenStack,
        hasReceivers: hasReceivers))
    try shape.size(object)
    if kernelHasFrags { try object.setFragsSupport() }
    return (object, kernelHasFrags)
  }
}
