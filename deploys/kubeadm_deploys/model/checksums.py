"""Official sha256 sums of release artifacts, by component, release and architecture.

Source: kubespray's checksum table as of 2026-08-21, which records what the projects publish. The sums of the
Calico manifests are from the release's Go module, those of Hetzner's from their repositories at a commit.
"""

SHA256: dict[str, dict[str, dict[str, str]]] = {
    "containerd": {
        "2.3.4": {
            "amd64": "9d68969855fbf676cdb8ed758e420fb048d61f984f61de3e53eddfebe484d168",
            "arm64": "a985fbb7e18fc0362d31a055338f5d7b0e087a3e27f14c70d1c5965399a29f95",
        },
        "2.3.3": {
            "amd64": "ebf6e710056312628eaf6fb4a1c32f0a4ae5f812568321be4029389d66fc7c7c",
            "arm64": "9cc708f13c31588a2fbdbd13553d963356e990d50e9b95a2d6120f4ff2067910",
        },
        "2.3.2": {
            "amd64": "75625e6f6595bb95f3fb9c8123a60534af4a8d9b52d7617065967bcefe71a17a",
            "arm64": "6874adea935300402b7782d63bf58f1bd59a3323d76a9f22f27686001fb8997a",
        },
        "2.3.1": {
            "amd64": "628448bd973610c656c1cbea8e88b32fafd85b23cc1aa4a3372eb7198478c054",
            "arm64": "46a83603a850f3916ca7c942310daaf82ed17773a85b1d431e92d4a541e46d0d",
        },
        "2.3.0": {
            "amd64": "4cb83e7100a5e73fcb626207d0b5bcfd1294e26aeddfe075dcfb38f375c5f887",
            "arm64": "06623dc8719b30d06303420f7eae91b0a9ade4e71243a4102f6375e585fb0a42",
        },
        "2.2.7": {
            "amd64": "91cd216ea26a1b8b512219d3f205375c967e7b7de4dae571bc3dd16bfacd34b5",
            "arm64": "84eb0a161e20ad45465202fa2d6d93b3d9b74666c363e9908706d590a86e2618",
        },
        "2.2.6": {
            "amd64": "f001b58b63206da25aa5accdb2eb1211aec19c28ec418b4d953b87d0c1ee7eb6",
            "arm64": "0b05746d09e86ac1098a3ecf4bc67d146873d668819aeb8216c39fcf369e8a51",
        },
        "2.2.5": {
            "amd64": "d4031557773a8e969d604b4ee809c64ed3c6cd024d38d521d93984fa17d37b89",
            "arm64": "ad3f7aec168ebbae8d24c412fdd2e8806d96599757f6032e38997d62a108158a",
        },
        "2.2.4": {
            "amd64": "62e77f6294e432dca5b56ad7e7d6085b5bbb526ebba0a51d832714f9b04cfdfd",
            "arm64": "d0897c8e27c96a7b7d4c73e9b278ea9f559dda619d497d88b323a528bd1412c3",
        },
        "2.2.3": {
            "amd64": "ca26ef5138f17b847bbeeec36d4bf5e002b54d25858197a870c125d57f44d32f",
            "arm64": "2942d72435b18610f7b69c1ddb74f99cef5c549425ff80d3e74f04e5e80db6a4",
        },
        "2.2.2": {
            "amd64": "2c08c99cbde73b3388c6d5da68e0bcaebc70c9174f2b14d785695e4401b3ede0",
            "arm64": "cb102473d6e353beb604178879d51cc456da0cdf368d9437d8d404ed01baf674",
        },
        "2.2.1": {
            "amd64": "f5d8e90ecb6c1c7e33ecddf8cc268a93b9e5b54e0e850320d765511d76624f41",
            "arm64": "dac15a0d412a24be8bfe6a40cec8f51829062725169f1e72ac7d120a891ef5b6",
        },
        "2.2.0": {
            "amd64": "b9626a94ab93b00bcbcbf13d98deef972c6fb064690e57940632df54ad39ee71",
            "arm64": "8805c2123d3b7c7ee2030e9f8fc07a1167d8a3f871d6a7d7ec5d1deb0b51a4a7",
        },
        "2.1.9": {
            "amd64": "0083d2a4c2e77eeb20e55b6d955822fb957ff386c0c23959c8b27f598317586c",
            "arm64": "2fbc3053b09812092f6bf316a509d849960eb0cb9332ec88c2f49676d648fd67",
        },
        "2.0.11": {
            "amd64": "249457e108b64f8c44bcf5928acc1d3300253c922414f5a8329a754303019d50",
            "arm64": "a8261bd5cc78cc46f01bbc229320b9781f8c03dcfedcbff25dfd4f12e43e5d74",
        },
        "1.7.34": {
            "amd64": "640f989745020ea4897ad0a3d7d977863a7279d3f2e132792fc62c25a45bda50",
            "arm64": "824cbd16af3bdfc1b1836338350630ae1b6a58c7466636a4bed10549790090ab",
        },
    },
    "runc": {
        "1.4.3": {
            "amd64": "f6ae8efc0fa40079e1475e97cbe9d1bd3f106a28d6af78a11d9f1bd565515e60",
            "arm64": "633301e2e32f8a5ad54031aab4901eb00308bec677dd15faa2751e8f9dab5ca4",
        },
        "1.4.2": {
            "amd64": "ac8a90f9e225bb9322189937b230cdc5478d5753f0e31e1bda98a5cf06bd9539",
            "arm64": "ea54032310588e115633aa2f4bba8bf9500257f657e1deca88df5778775138db",
        },
        "1.4.1": {
            "amd64": "b6d50dad89a420cafcdc0eebf4bed132a45b161d5bc1ba4ddd8cc4422d24a983",
            "arm64": "80d5757c46152c35151621cf394ee08cec881716169d0fdd40f9ce124d3c85f5",
        },
        "1.4.0": {
            "amd64": "c5d4995c5aec204d7e1827d9d9a6b45042602736f7f415f484252e576dcdac28",
            "arm64": "2adbeed4c751d6f2201c642ed06269ff4370fcc4165abd3f323e19c653716c31",
        },
        "1.3.6": {
            "amd64": "3f3921dbbee7723e9868f97e88e51ffc910206e3ba55646e74d93d24ea76023c",
            "arm64": "6be27a061ef89bb14c6cb495405bba80f46cea213b8f79378a6086b1bac6b747",
        },
        "1.3.5": {
            "amd64": "66fa8390be8fb3b23dfbb60c767368bb5b51f1acfa88692bbff1a82953d4d9e9",
            "arm64": "bd843d75a788e612c9df286b1fa519a44fcbb7a7b8d01e2268431433cc7c718c",
        },
        "1.3.4": {
            "amd64": "5966ca40b6187b30e33bfc299c5f1fe72e8c1aa01cf3fefdadf391668f47f103",
            "arm64": "d6dcab36d1b6af1b72c7f0662e5fcf446a291271ba6006532b95c4144e19d428",
        },
        "1.3.3": {
            "amd64": "8781ab9f71c12f314d21c8e85f13ca1a82d90cf475aa5131a7b543fcc5487543",
            "arm64": "3c9a8e9e6dafd00db61f4611692447ebab4a56388bae4f82192aed67b66df712",
        },
        "1.3.2": {
            "amd64": "e7a8e30bd6d248f494aae9163521ff4eb112a30602ac56ada0871e3531269c2d",
            "arm64": "06fbccb4528ecd490f3f333d6dcf22c876bd72a024813a0c0a46312121f4c5fd",
        },
        "1.3.1": {
            "amd64": "53bfce31ca047e537e0767b21c9d529d4b5b3e1cb9c590ca81654f9a5615d80d",
            "arm64": "e531c276312ec701be7edf2b998ac4220c858d02d274bef5546945964792d074",
        },
        "1.3.0": {
            "amd64": "028986516ab5646370edce981df2d8e8a8d12188deaf837142a02097000ae2f2",
            "arm64": "85c5e4e4f72e442c8c17bac07527cd4f961ee48e4f2b71797f7533c94f4a52b9",
        },
        "1.2.9": {
            "amd64": "b21fda1d5a1510b19c3f6fb43ecb3a92887654a9d0c2b64e84b8b08f24ff0e30",
            "arm64": "c155ae4716480be73a1c3bbedfa23df179800ba39ca83eb59f5b1b9b72a7ecbd",
        },
        "1.1.15": {
            "amd64": "d218e1f8be4dcb1f288dea754faee342375a36f695eac5ab37fc8b7270a78763",
            "arm64": "c680f8c470ffb228944ca80e1a4dbb6768b3ad97057350852e128847f9dd10bc",
        },
        "1.1.10": {
            "amd64": "81f73a59be3d122ab484d7dfe9ddc81030f595cc59968f61c113a9a38a2c113a",
            "arm64": "4830afd426bdeacbdf9cb8729524aa2ed51790b8c4b28786995925593708f1c8",
        },
    },
    "cni_plugins": {
        "1.9.1": {
            "amd64": "b98f74a0f8522f0a83867178729c1aa70f2158f90c45a2ca8fa791db1c76b303",
            "arm64": "56171987d3947707c3563db2f4001bccaf50fd63468611b9f3cbecb1375ee7ec",
        },
        "1.8.0": {
            "amd64": "ab3bda535f9d90766cccc90d3dddb5482003dd744d7f22bcf98186bf8eea8be6",
            "arm64": "57ce466fc3b79db1f19b8f4c63e07a1112306efa53c94fe810a2150dd9e07ddb",
        },
        "1.7.1": {
            "amd64": "1a28a0506bfe5bcdc981caf1a49eeab7e72da8321f1119b7be85f22621013098",
            "arm64": "119fcb508d1ac2149e49a550752f9cd64d023a1d70e189b59c476e4d2bf7c497",
        },
        "1.6.2": {
            "amd64": "b8e811578fb66023f90d2e238d80cec3bdfca4b44049af74c374d4fae0f9c090",
            "arm64": "01e0e22acc7f7004e4588c1fe1871cc86d7ab562cd858e1761c4641d89ebfaa4",
        },
        "1.6.0": {
            "amd64": "682b49ff8933a997a52107161f1745f8312364b4c7f605ccdf7a77499130d89d",
            "arm64": "db09ab057ecf60b05ba05cbec38d55b95cc139c7f1078e2e4857cc13af158cee",
        },
    },
    "calico": {
        "3.32.1": {
            "calico.yaml": "a1df919d9721cf667accdc3e72848911b0cb25cfab7d2478ad0c996302c95744",
            "calico-vxlan.yaml": "c2ab4f9a4ecde01d66e6f040d6745cd7f174d5ded573164c809ffb9f40a9d566",
        },
        "3.31.7": {
            "calico.yaml": "d6d8a489a4ed8e5b8efd8b339047b496ca657b55ee2e3618e791507b0a853e8d",
            "calico-vxlan.yaml": "324475bc90d0fc6b432092b91a011190fdaed47823fcc936762ea58507c6a5a3",
        },
        "3.31.0": {
            "calico.yaml": "1990b1cec14002790718bb960b1b8445eb7b896cd16c32e952309f35a9026981",
            "calico-vxlan.yaml": "0f7dc29b56dafe1d9566991d008a7944f5a319ab3e5fa9caccfb0d7d778fcdd7",
        },
    },
    "hcloud_cloud_controller": {
        "cfbbbd9d6f249e835f4499f4a2aa10ee59b2eb07": {
            "ccm-networks.yaml": "a3da779c3acae86dfe7e9bdfbad776193b1c0d48276cf1d7ba02ba1fcf2743e5",
        },
    },
    "hcloud_csi": {
        "3186e78786031b759e875315a64eb79869f277e4": {
            "hcloud-csi.yml": "3fb3cd7b2a724ececab1e93cdb1c69be91f3d86f6460dfa0a1d12f68557583ee",
        },
    },
}
