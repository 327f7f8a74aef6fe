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
    _ shape: ProgramShape, recordsDecisions: Bool = false
  ) throws(ProgramError) -> (ProgramObject, supportsFrags: Bool) {
    let object = try make(
      shape, frags: kernelHasFrags, records: recordsDecisions, zeroesStack: !kernelTakesUnwrittenStack)
    return (object, kernelHasFrags)
  }

  private static func make(
    _ shape: ProgramShape, frags: Bool, records: Bool, zeroesStack: Bool
  ) throws(ProgramError) -> ProgramObject {
    let object = try ProgramObject(
      PackageResources.sluice_xdp_bpf_o, programName: "sluice_xdp",
      constants: shape.constants(frags: frags, recordsDecisions: records, zeroesStack: zeroesStack))
    try shape.size(object)
    if frags { try object.setFragsSupport() }
    return object
  }
}
